from .columns import fit_columns as fit_columns
from .fit import fit_probes as fit_probes
from .regression import RegressionProbes as RegressionProbes
from .result import Difference as Difference
from .result import Probes as Probes
from .result import paired as paired
from .result import pooled as pooled
from .ridge import fit_regression as fit_regression
