from .autoencoder import SummaryAutoencoder as SummaryAutoencoder
from .autoencoder import load_autoencoder as load_autoencoder
from .autoencoder import load_published as load_published
from .autoencoder import save_autoencoder as save_autoencoder
from .catalog import check_autoencoder_name as check_autoencoder_name
from .summaries import Judge as Judge
from .summaries import fit_judge as fit_judge
from .summaries import summarise as summarise
