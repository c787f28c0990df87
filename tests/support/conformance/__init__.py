"""What every implementation of a port must do, as tests: subclass the port's suite, and run it.

A suite is an abstract class. A test module beside the implementation names a subclass ``Test...``
and says how one is made. Each clause is one test, and its docstring is the guarantee. The class's
own docstring says what nobody may rely on.
"""
