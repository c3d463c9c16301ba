"""A communicator between threads of this process, with the methods of mpi4py's that the library uses."""

import threading

import numpy as np


class Communicator:
    """One rank of a world."""

    def __init__(self, world, rank):
        self._world, self._rank = world, rank

    def Get_rank(self):
        return self._rank

    def Get_size(self):
        return len(self._world.slots)

    def allgather(self, value):
        world = self._world
        world.slots[self._rank] = value
        world.barrier.wait(30)
        found = list(world.slots)
        world.barrier.wait(30)
        return found

    def bcast(self, value, root=0):
        return self.allgather(value)[root]

    def Barrier(self):
        self._world.barrier.wait(30)

    def Allgatherv(self, sent, received):
        buffer, counts = received
        parts = self.allgather(np.array(sent))
        assert [len(part) for part in parts] == list(counts)
        buffer[:] = np.concatenate(parts)

    def Alltoallv(self, sent, received):
        (buffer, counts), (out, expected) = sent, received
        everyones = self.allgather(np.split(np.array(buffer), np.cumsum(counts)[:-1]))
        parts = [for_each[self._rank] for for_each in everyones]
        assert [len(part) for part in parts] == list(expected)
        out[:] = np.concatenate(parts)

    def Abort(self, code):
        self._world.aborted = code
        self._world.barrier.abort()


class World:
    """Ranks that run as threads."""

    def __init__(self, size):
        self.slots, self.barrier, self.aborted = [None] * size, threading.Barrier(size), None

    def run(self, function):
        """Return what ``function(communicator)`` returns or raises in each rank."""
        found = [None] * len(self.slots)

        def rank(number):
            try:
                found[number] = function(Communicator(self, number))
            except BaseException as error:
                found[number] = error

        threads = [threading.Thread(target=rank, args=(number,)) for number in range(len(found))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found


def in_ranks(size, function):
    """Return what ``function(communicator)`` returns in each of several ranks; raise what one of them raises."""
    found = World(size).run(function)
    errors = [x for x in found if isinstance(x, BaseException)]
    if errors:
        raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])
    return found
