"""The team of threads: every part once, whoever calls, however many there are."""

import os
import threading
import time

import pytest

from tests.native.core import Lent, Team, library

pytestmark = pytest.mark.slow  # building the library takes a minute; tests/engine runs it as it was installed


def counted(team, parts):
    """Run `parts` parts; return how often each was called, and the members that ran them."""
    calls = [0] * parts
    members = set()

    def part(number, member):
        calls[number] += 1
        members.add(member)

    team.run(parts, part)
    return calls, members


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_each_part_once(threads):
    with Team(threads) as team:
        assert team.size == threads
        for parts in (0, 1, 2, 3, 7, 64, 1000):
            calls, members = counted(team, parts)
            assert calls == [1] * parts
            assert members <= set(range(threads))


def test_many_short_runs():
    with Team(4) as team:
        for parts in range(500):
            calls, _ = counted(team, parts % 9)
            assert calls == [1] * (parts % 9)


def test_used_from_several_threads():
    failures = []
    with Team(3) as team:

        def use():
            for _ in range(100):
                if counted(team, 11)[0] != [1] * 11:
                    failures.append(1)

        users = [threading.Thread(target=use) for _ in range(4)]
        for u in users:
            u.start()
        for u in users:
            u.join()
    assert not failures


def test_run_inside_a_part():
    with Team(3) as team:
        inner = []
        team.run(4, lambda part, member: inner.append(counted(team, 5)[0]))
        assert inner == [[1] * 5] * 4


def test_idle_team_uses_no_time():
    with Team(4) as team:
        counted(team, 8)
        time.sleep(0.05)
        before = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - before < 0.05


@pytest.mark.filterwarnings("ignore:.*fork")  # of packages that other tests have loaded
def test_works_in_a_forked_child():
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    team = Team(3)
    counted(team, 8)
    child = os.fork()
    if child == 0:
        right = counted(team, 8)[0] == [1] * 8
        team.__exit__()
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    team.__exit__()


def test_default_threads():
    n = library().core_default_threads()
    assert 1 <= n <= (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


def test_a_team_is_lent_to_one_at_a_time():
    with Lent(3) as first:
        assert first.size == 3
        with Lent(3) as second, Lent(3) as third:
            assert second.size == third.size == 1
            for team in (first, second, third):
                calls, members = counted(team, 20)
                assert calls == [1] * 20 and members <= set(range(team.size))
        with Lent(2) as other:
            assert other.size == 2
    with Lent(3) as again:
        assert again.pointer.value == first.pointer.value


def test_teams_are_lent_to_several_threads():
    failures, sizes = [], set()

    def use():
        for k in range(200):
            with Lent(1 + k % 4) as team:
                sizes.add(team.size)
                calls, members = counted(team, 11)
                if calls != [1] * 11 or not members <= set(range(team.size)):
                    failures.append(1)

    users = [threading.Thread(target=use) for _ in range(4)]
    for u in users:
        u.start()
    for u in users:
        u.join()
    assert not failures and sizes <= {1, 2, 3, 4}


@pytest.mark.filterwarnings("ignore:.*fork")  # of packages that other tests have loaded
def test_teams_are_made_anew_in_a_forked_child():
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    with Lent(3) as held:
        counted(held, 8)
        child = os.fork()
        if child == 0:
            still = counted(held, 8)[0] == [1] * 8  # without the threads, which the child does not have
            with Lent(3) as team:
                right = team.size == 3 and team.pointer.value != held.pointer.value and counted(team, 8)[0] == [1] * 8
            held.__exit__()
            os._exit(0 if still and right else 1)
        assert os.waitpid(child, 0)[1] == 0
