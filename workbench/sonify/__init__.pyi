from .autoencoder import SummaryAutoencoder as SummaryAutoencoder
from .catalog import check_autoencoder_name as check_autoencoder_name
from .files import load_autoencoder as load_autoencoder
from .files import save_autoencoder as save_autoencoder
from .given import prototypes_from as prototypes_from
from .summaries import Judge as Judge
from .summaries import fit_judge as fit_judge
from .summaries import summarise as summarise
