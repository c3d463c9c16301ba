"""``autograd.scipy.stats``: a module for each distribution."""

import sys
import types

from ....scipy import stats as _distributions

__path__: list[str] = []  # so that ``import autograd.scipy.stats.norm`` looks here

for _name in _distributions.__all__:
    _module = types.ModuleType(f"{__name__}.{_name}")
    _of = getattr(_distributions, _name)
    vars(_module).update({method: getattr(_of, method) for method in dir(_of) if not method.startswith("_")})
    sys.modules[_module.__name__] = globals()[_name] = _module
