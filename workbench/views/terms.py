"""The words of the notebooks, one sentence each, and tables whose headers explain themselves.

A column called ``purity`` is clear to who wrote it. :func:`table` shows a table of which every row and column that has
a word from :data:`TERMS` carries its sentence: as a hint under the pointer, and in a list that unfolds below the table,
for fingers and for paper. :func:`glossary` shows some of the words as a list.

Examples
--------
>>> import pandas as pd
>>> from workbench.views import glossary, table
>>> shown = table(pd.DataFrame({"dead": [0.25]}, index=["SAE"]), digits=2)  # the last line of a cell
>>> print(glossary("dead"))
dead: Share of latents that none of these clips activates.
"""

from __future__ import annotations

import numbers
from collections.abc import Hashable

import pandas as pd

from ..core.checks import checked, close_match, whole
from ..core.errors import ParameterError
from ..core.markup import markdown
from .page import escape

TERMS: dict[str, str] = {
    # sparse codes
    "dead": "Share of latents that none of these clips activates.",
    "fvu": "Fraction of variance unexplained: squared error of the reconstruction over its variance; "
    "0 is perfect, 1 no better than the mean.",
    "l0": "Number of latents that are not zero, on average over clips.",
    "compared": "Latents whose value varies over the test clips.",
    "compared_with": "The same of the autoencoder in which they are looked for.",
    "found_again": "Share of latents with a partner of similarity .7 or more in another autoencoder, one to one.",
    "nearest": "Share of latents to which any latent of the other autoencoder is similar by .7 or more.",
    "weighted": "The share found again, with each latent counted as often as it is active.",
    "similarity": "Mean, over latents, of the similarity to the most similar latent of the other autoencoder.",
    "chance_similarity": "The same with random directions, or with clips in a shuffled order.",
    "never trained": "Control: latents are looked for in an untrained autoencoder.",
    "carried": "Share of what a code writes along a class's direction that one latent, the main one, writes.",
    "fires": "Share of the clips of a class in which its main latent is active.",
    "false_alarms": "Share of the other clips in which the main latent of a class is active.",
    "absorbed": "Share of the clips of a class in which its main latent is silent and another one writes the class.",
    "absorber": "The latent that writes the class in most of the absorbed clips; -1: there are none.",
    "SAP": "Gap between the two numbers that correlate most with a factor, in squared correlation; 1 is best.",
    "modularity": "How far each number of a code has information on one factor only; 1 is best.",
    "explicitness": "Area under the ROC curve of a linear classifier of a factor; .5 is guessing, 1 perfect.",
    "DCI disentanglement": "How far each number of a code has weight for one factor only; 1 is best.",
    "DCI completeness": "How far the weights for a factor lie on one number of a code; 1 is best.",
    # names of latents
    "listener": "Who says yes or no of a sound without knowing the latents: the table, measurements, a tagger, CLAP.",
    "chosen with": "Balanced accuracy of a name on the half of the groups that it was chosen on.",
    "name score": "Balanced accuracy with which a name tells, on other groups, when its latent is active.",
    "luck": "What 95 % of shuffles of the latent stay below, each with a choice of its own.",
    "wrong name": "The best of other latents' names for this one, of those that say something else.",
    "its score": "Balanced accuracy of the wrong name on the same groups.",
    "margin": "Score of the name minus that of the wrong one.",
    "active latents": "Latents that are active at some moment.",
    "judged": "Latents that are active, and silent, at enough moments of both halves.",
    "above luck": "Latents whose name scores above what 95 % of their own shuffles reach.",
    "by luck": "How many of those luck alone would bring.",
    "holds": "The name is further above one half than luck brings any, and better than the best wrong name.",
    "another may do as well": "The name is above luck, but not shown to be better than the best wrong name.",
    "no name that holds": "The best name is not so far above one half that luck would bring any in 1 of 20 tables.",
    # probabilities
    "entropy": "How evenly something is spread, in bits or nats: 0 where it is one thing, highest where all are alike.",
    "chance": "What guessing without hearing the sound would reach.",
    "majority": "What always giving the commonest answer would reach.",
    # prototypes
    "medoid": "The real example whose distance to all others of its class is smallest.",
    "purity": "Share of prototypes whose nearest training example is of their own class.",
    # sae and predefined prototypes
    "accuracy": "Share of test clips that are given their own label.",
    "balanced accuracy": "Accuracy within each class, averaged over classes, so that large classes do not count more.",
    "validation accuracy": "Accuracy on validation clips, by which settings and layers are chosen.",
    "penalty": "How strongly large weights are punished; validation chooses it, and this is the median over seeds.",
    "split spread": "Standard deviation over splits.",
    "layer": "Where in the network a vector was taken; the first is nearest to the sound.",
    "family": "Attributes that measure nearly the same kind of thing, such as pitch.",
    "attributes": "How many measured properties there are.",
    "attribute": "A measured property of a sound.",
    "factor": "A known property of a sound: the sound was made from it, or the table has it.",
    "formants": "Resonances of the vocal tract, which tell vowels apart.",
    "MFCC": "Coefficients of the cosine transform of a log-mel spectrum: its coarse shape.",
    "voice quality": "How regular a voice is: harmonics against noise, jitter, shimmer.",
    "hnr": "Harmonics-to-noise ratio in dB: how far the periodic part of a sound lies above its noise.",
    "jitter": "How much periods of a voice differ in length from one to the next.",
    "shimmer": "How much periods of a voice differ in amplitude from one to the next.",
    "brightness": "Where the middle of the spectrum lies (its centroid), in Hz.",
    "harmonicity": "Harmonics-to-noise ratio in dB: how far the periodic part of a sound lies above its noise.",
    "low-band slope": "How the spectrum rises or falls from 0 to 500 Hz, in dB per kHz.",
    "first formant": "The lowest resonance of the vocal tract, or of whatever else sounds, in Hz.",
    "second formant": "The second resonance of the vocal tract, or of whatever else sounds, in Hz.",
    "spectral flux": "How much the spectrum changes from one moment to the next.",
    "mini-mel": "The built-in autoencoder: one vector for a sound, and a decoder that makes a sound of it.",
    "mel": "The built-in codec: a mel spectrum for each moment, and a phase that is found anew.",
    "loss": "What a training makes small.",
    "sensitivity": "How far a change of the sounds moves vectors, over how far two clips lie apart, both squared; "
    "0 is invariant.",
    "consistency": "Mean cosine between the moves of different clips; 1 where a change moves all of them the same way.",
    "rank correlation": "Spearman's: 1 where two columns order the clips alike, 0 where one says nothing of the other.",
    "n": "Number of clips for which both are known.",
    "difference p5": "One twentieth of the differences lie below.",
    "difference p95": "One twentieth of the differences lie above.",
    "relative": "Median of the differences over the size of what is compared with.",
    "only a": "Share of clips for which the first measurement alone is defined.",
    "only b": "Share of clips for which the second measurement alone is defined.",
    "untrained": "The same network with random weights: what it reads was not learnt.",
    "spectrum": "Mean and standard deviation of 64 log-mel bands: what is read without learning any features.",
    "sparsity": "Share of the latents that are zero.",
    "k": "How many latents a code keeps of each vector.",
    "seed": "What the random draws of a training begin from.",
    "kind": "Which code is meant: trained, untrained, or a control with as many numbers.",
    "mse": "Mean squared error of the reconstruction, in the squared units of the input.",
    "cosine": "Cosine between a vector and its reconstruction, on average over clips.",
    "train fvu": "Fraction of variance unexplained on training clips; far below fvu, they were learnt by heart.",
    "fvu train": "Fraction of variance unexplained on training clips; far below fvu, they were learnt by heart.",
    "train dead": "Share of latents that no training clip activates.",
    "kept": "Training step whose weights were kept, by the error on validation clips.",
    "SAE": "Sparse autoencoder with a bias subtracted, decoder directions of length 1, and silent latents revived.",
    "SAE, paper's form": "Sparse autoencoder of equation 1 and nothing else.",
    "SAE, untrained": "Sparse autoencoder with the weights that it starts from: what it keeps was not learnt.",
    "principal components": "The k directions along which the vectors vary most: the best linear code of k numbers.",
    "random projection": "The vectors on k random directions at right angles to each other.",
    "embedding": "The vector itself, before any code.",
    "protocol": "Where an attribute is fitted and judged: by the paper's recipe, or on held-out clips.",
    "held out": "Fitted and chosen without the test clips, and judged on them.",
    "paper": "By the paper's own recipe, so that numbers stand beside those that it prints.",
    "r2": "Share of the variance of a number that is explained: 0 is no better than its mean, 1 is perfect.",
    "completeness": "How nearly one number, or one block, carries an attribute alone (1); 0 where all share it evenly.",
    "codes": "Effective number of codes exp(H): over how many numbers the weights of an attribute are spread.",
    "others": "Change of the same probability on the clips of the other classes.",
    "flips": "Share of clips whose decision changes.",
    "moved": "How far the vectors were pushed, in units of their spread.",
    "auc": "Area under the ROC curve: the chance that a clip with the concept gets a higher score than one without it; "
    "one half says nothing.",
    "fixed": "The same area of the probe that was trained before the change.",
    "less": "The area less that after random latents were removed, with its bounds.",
    "portion": "Number of latents removed, of all that are active in some training clip.",
    "shift": "Change of the probability of the class on its own test clips, by the probe from before.",
    "over": "That change less the one by random latents, with its bounds.",
    "alone": "How far a probe's log-odds go to those of clips without the named property, if this latent is removed.",
    "as much": "Share of all other latents that take as much or more when they push as far.",
    "random latents": "As many other latents that are active in the same clip, scaled to push it equally far.",
    "LEACE": "The least change after which no linear probe of the clips it was fitted on beats a constant.",
    "class means": "The direction from the mean of all other clips to the mean of a class.",
    "largest cosine": "Cosine between the nearest two prototypes of a set; the lower, the further apart they lie.",
    "orthonormal": "Vectors at right angles to each other, all of one length.",
    "simplex": "Vectors with all angles equal, and as large as they can be.",
    "orthoplex": "Pairs of opposite vectors on axes at right angles.",
    "repulsion": "Points that push each other away until they rest.",
    "johnson lindenstrauss": "Orthonormal vectors of many dimensions, projected at random to few.",
    "gaussian": "Vectors of independent Gaussian numbers.",
    "accuracy nearest": "Accuracy of deciding by the nearest prototype or, where a loss has none, class mean.",
    "calibration error": "Mean gap between how sure a classifier is and how often it is right.",
    "nc1": "Spread within classes over that between them; 0 where each class is one point.",
    "seconds": "Time of a training.",
    "cross-entropy": "The usual loss of a classifier, without prototypes.",
    "focal": "Cross-entropy in which clips that are decided with certainty count less.",
    "orthogonal-projection": "Cross-entropy, and terms that align clips of a class and set classes at right angles.",
    "center": "Cross-entropy, and a pull to a centre of each class that follows its clips.",
    "ArcFace": "Cross-entropy on angles to learnt directions, where the own class must win by a margin.",
    "supervised contrastive": "Draws clips of a class together and pushes all others away; a linear probe decides.",
    "prototypical network": "Cross-entropy on distances to the mean of a few clips a class, drawn for each batch.",
    "hyperspherical": "Pulls the direction of an embedding to that of a fixed prototype; its length does not count.",
    "fixed classifier (ETF)": "A linear classifier whose weights, an equiangular tight frame, are never trained.",
    "prototypes, mean": "Pull to the running mean of each class.",
    "prototypes, learnt": "Pull to places that are trained along, at ten times the learning rate of the network.",
    "prototypes, orthonormal": "Pull to fixed places at right angles, which is what the paper does.",
    "prototypes, simplex": "Pull to fixed places at equal angles, as large as they can be.",
    "prototypes, gaussian": "Pull to fixed places that were drawn at random.",
    "read rightly": "Share of test clips whose block says the level that they have.",
    "read low": "Low bound of the 95 % interval of read rightly.",
    "read high": "High bound of the 95 % interval of read rightly.",
    "best constant": "What a block would reach that always says the level that is commonest among test clips.",
    "one input column": "What the best single number of the network's input says, cut into as many levels.",
    "column": "The number of the input that says most of a level.",
    "level read": "Share of levels that are read rightly, the mean over factors.",
    "kappa": "Agreement of ordered levels: 1 where all are read, 0 for chance; levels further off count more.",
    "the embedding itself": "The vectors of the encoder, without any training.",
    "prototypes, pulled ten times harder": "Pull to orthonormal places with ten times the weight.",
    "placebo": "Control: told as many factors whose levels were dealt to the wrong clips.",
    "by the rule": "What whoever knows the rule would reach from the levels of these factors alone.",
    "to orthonormal": "Mean distance of the cosines between class means from those of orthonormal vectors, 0.",
    "to orthoplex": "Mean distance of the cosines between class means from those of pairs of opposite vectors.",
    "base": "Accuracy on test clips of the classes that were trained.",
    "novel, 1 shot": "Accuracy on classes that were never trained, from one example of each.",
    "novel, 5 shot": "Accuracy on classes that were never trained, from five examples of each.",
    "final": "Value of the last epoch.",
    "epochs to share": "Epochs until a training first reaches 95 % of its own final value.",
    "area": "Mean of the value over all epochs.",
    "sd": "Standard deviation over runs.",
    "mig": "Mutual information gap: by how much of a factor's entropy the part of a code (a number, or a block) "
    "that tells most of it is ahead of the next; 1 is best.",
    "minimality": "How much of what a block says is about one factor.",
    "sufficiency": "How much of a factor one block tells.",
    "disentanglement": "Near 1 where each block tells of one factor alone, 0 where it tells of all alike.",
    "leakage of probes": "What other blocks read of a factor, above chance, as a share of what its own block tells.",
    # listening tests
    "votes": "How often each answer was given to sounds of this class, the commonest first.",
    "against": "The method whose ratings are subtracted, of the same listeners on the same trials.",
    # pecmae and listen to interpret
    "component": "One spectrum of a dictionary, which comes and goes over the time of a clip.",
    "dictionary": "The spectra W of which a spectrogram is written as a sum; they are learnt from training clips.",
    "relevance": "What a component adds to the score of a class, as a share of the largest contribution; from -1 to 1.",
    "tau": "The threshold of relevance: components above it are played, or taken out.",
    "fidelity": "Share of clips on which an interpreter decides as the classifier does, right or wrong.",
    "L2I": "Listen to Interpret: the components of a dictionary whose relevance is above tau.",
    "L2I, attention": "Listen to Interpret whose activations are pooled over time by attention.",
    "L2I, max": "Listen to Interpret whose activations are pooled over time by their maximum.",
    "FLINT": "A rival that imitates the classifier by attributes read from its inner maps, which have no sound.",
    "L-MAC": "A network that draws a mask from the classifier's inner maps, so that what is kept decides as before.",
    "commonest decision": "Control: what the classifier decides most often, said of every clip.",
    "VIBI": "A rival that keeps a few cells of the spectrogram from which the decision can still be told.",
    "top 1": "Share of clips whose class by the classifier is the interpreter's first.",
    "top 3": "Share of clips whose class by the classifier is among the interpreter's first three.",
    "top 5": "Share of clips whose class by the classifier is among the interpreter's first five.",
    "top 1 low": "Low bound of the 95 % interval of top 1 for other groups of clips, mean over folds.",
    "top 1 high": "High bound of the 95 % interval of top 1 for other groups of clips, mean over folds.",
    "macro AUPRC": "Area under precision against recall of each label, mean over labels.",
    "macro AUPRC low": "Low bound of the 95 % interval of macro AUPRC, mean over folds.",
    "macro AUPRC high": "High bound of the 95 % interval of macro AUPRC, mean over folds.",
    "macro constant AUPRC": "Macro AUPRC of the same score for every clip, which the paper's thresholds pay well.",
    "micro AUPRC": "Area under precision against recall over all pairs of clip and label together.",
    "max F1": "Largest F1 over all pairs of clip and label on the paper's thresholds.",
    "fidelity loss": "Cross-entropy between the classifier's decision and the interpreter's.",
    "squared error": "Mean squared error of W H beside the spectrogram.",
    "epoch": "How often the training clips had been seen before.",
    "valid loss": "The loss on validation clips.",
    "mean activation": "Mean of the activations H.",
    "runs": "How many folds and seeds are behind a row.",
    "spread": "Standard deviation over folds and seeds.",
    "components": "Number of components above the threshold, mean over clips.",
    "none": "Share of clips without a component above the threshold.",
    "drop": "Fall of the score of the class without the relevant components, median over clips.",
    "spread of drop": "Standard deviation of the fall over folds and seeds.",
    "random": "Fall of the score without as many other components, drawn at random, median over clips.",
    "random low": "Low bound of the 95 % interval of the fall by random components.",
    "random high": "High bound of the 95 % interval of the fall by random components.",
    "low": "Low bound of the 95 % interval.",
    "high": "High bound of the 95 % interval.",
    "difference": "Mean of the differences within each clip.",
    "difference low": "Low bound of the 95 % interval of the difference.",
    "difference high": "High bound of the 95 % interval of the difference.",
    "short": "Share of clips with too few other components to draw as many.",
    "logit drop": "Fall of the logit of the class when what the mask keeps is taken out.",
    "mean removal drop": "Fall of the probability of the class when what the mask keeps is taken out, mean over clips.",
    "fidelity in": "Share of clips that keep their class when what the mask keeps is heard alone.",
    "imitation": "Share of clips on which an interpreter decides as the classifier does, whatever its mask.",
    "deletion": "Area under the probability of the class as rectangles are taken out, those of the largest mask first.",
    "insertion": "Area under the probability of the class as rectangles are put in, those of the largest mask first.",
    "sanity": "Correlation, without its sign, of a mask with the one made for the same network with random weights.",
    "heard": "Share of clips of which another classifier, the listener, names the class from what the mask plays.",
    "control value": "What the best control reaches.",
    "average increase": "Per cent of clips whose class is more probable when what the mask keeps is heard alone.",
    "average drop": "Per cent of its probability that the class loses when what the mask keeps is heard alone.",
    "average gain": "Per cent of the way to certainty that the class gains when what the mask keeps is heard alone.",
    "sparseness": "Gini index of a mask: 0 where all bins are alike, near 1 where few bins hold everything.",
    "mask mean": "Mean of the mask over its bins: how much of the clip it keeps.",
    "ones": "Control: a mask that keeps everything.",
    "zeros": "Control: a mask that keeps nothing.",
    "energy": "Control: a mask of the loudest tenth of the bins, which never asks the classifier.",
    "shuffled": "Control: the values of L2I's mask in random order.",
    "shifted": "Control: L2I's mask moved round by random numbers of bins and frames.",
    "saliency": "Where the score of the class grows most with the bin, by its gradient.",
    "smooth gradient": "Saliency averaged over noisy versions of the clip.",
    "integrated gradients": "Gradients of the score added up on the way from silence to the clip.",
    "occlusion": "How much the score falls when one rectangle of the spectrogram is silenced.",
    "SLIME": "The rectangles with the largest weights in a linear model of the classifier, asked with some silenced.",
    "slime grid": "SLIME on rectangles of time and frequency in place of ten segments of time.",
    "lime components": "LIME: the components with the largest weights in a linear model of the classifier.",
    "SI-SDR": "Energy of a sound along the true stem over all the rest of it, in dB, whatever its level.",
    "si sdr": "Likeness to the true stem, in dB, median over clips: energy along the stem over all the rest.",
    "improvement": "Likeness to the true stem minus that of the mixture, in dB.",
    "overlap": "Time in which the sound and the true event are both on, over the time in which either is.",
    "silent": "Share of clips of which nothing is played.",
    "clip passes": "Share of the clip's energy that the mask lets through, median over clips.",
    "disturbance passes": "Share of the disturbance's energy that the mask lets through, median over clips.",
    "same decision": "Share of clips of which the classifier says the same with the disturbance.",
    "prototype": "An example that a classifier compares with; here a trained vector that can be turned into sound.",
    "codec": "A network that stores a sound as few numbers, its latent frames, and plays it back.",
    "guidance": "How much what the vector says is exaggerated when a sound is drawn, g.",
    "adaptor": "A transformer layer that makes the prototypes of the trained vectors, each by itself.",
    "diversity": "Mean distance between the prototypes of a class.",
    "collapsed": "Number of prototypes, beyond the first, that share their nearest training segment with another.",
    "near duplicates": "Number of prototypes so near to another that pruning by distance would delete them.",
    "MLP": "A network with one hidden layer on the same vectors, which needs no examples.",
    "linear probe": "A linear classifier on the same vectors, which needs no examples.",
    "untrained prototypes": "The centroids of k-means within each class, as prototypes start.",
    "nearest neighbours": "The commonest class of the nearest training segments.",
    "nearest centroid": "The class whose mean training segment is nearest.",
    "APNet": "An older rival, whose prototypes are learnt in a spectrogram autoencoder of its own.",
    "fold spread": "Standard deviation over folds of the means over seeds.",
    "seed spread": "Standard deviation over seeds within a fold, mean over folds.",
    "median": "Half of the values lie below it.",
    "low quartile": "A quarter of the values lies below it.",
    "high quartile": "A quarter of the values lies above it.",
    "codec there and back": "What the codec alone makes of a sound, without a vector.",
    "one vector, g = 0": "A sound drawn from its vector without guidance.",
    "one vector, g = 1": "A sound drawn from its vector with guidance 1.",
    "another clip of the class": "Control: a segment of another clip of the same class.",
    "mean of all": "Control: the mean of the latent frames of all these segments.",
    "real test segments": "Segments that neither model nor judge was fitted on.",
    "prototypes, as they were given": "Sounds that somebody else chose for examples; nothing was decoded.",
    "through one vector": "The same segments, drawn again from their vectors.",
    "real segments nearest to them": "Of each prototype the nearest test segment of its class.",
    "these through one vector": "Those segments, drawn again from their vectors.",
    "APNet's prototypes": "What the prototypes of APNet sound like.",
    "sounds": "How many sounds there were.",
    "judge low": "Low bound of the 95 % interval of the judge's share, for other groups or prototypes.",
    "judge high": "High bound of the 95 % interval of the judge's share, for other groups or prototypes.",
    "same model": "The model itself, of the sound encoded again.",
    "control, fitted on whole clips": "The same judge, but fitted on whole clips at their own rate.",
    "always the commonest class, on test segments": "What always giving the commonest class would reach.",
    "class-major": "Centroids start in their own class.",
    "no adaptor": "The trained vectors are the prototypes.",
    "sum": "Similarity by the sum over dimensions, as the paper prints it, in place of the mean.",
    "cross-entropy 1": "The loss is the cross-entropy alone: nothing pulls prototypes to segments.",
    "temperature .03": "Logits are divided by .03 in the cross-entropy, in place of .1.",
    "default": "The setting that all others change in one place.",
    "variance kept": "Share of the variance of the training vectors that lies along the axes kept.",
    "likeness (median)": "Median correlation of the sounds' latent frames with those of the originals.",
    "likeness of the mean of all": "The same for the mean of all segments: the floor.",
    "is": "The class of the clip.",
    "becomes": "The class that came second, towards which the vector is moved.",
    "move / nearest neighbour": "Length of the move over the distance to the nearest training segment.",
    "share of the way": "Length of the move over the whole way to the prototype.",
    "random directions that flip": "Share of random directions of the same length that change the decision so too.",
    "towards real clips": "Median length of moves towards real segments of that class, over that of this move.",
    "dB below the sound": "How far the change of the waveform lies below the sound, in dB: the more, the smaller.",
    "led by the logit": "The same for a change led by the gradient of the logit, which knows the whole classifier.",
    "noise as loud flips": "Share of draws of white noise, as loud as the change, that change the decision.",
    "holds in 16 bits": "Whether the new decision holds when the changed sound is rounded to 16 bits.",
    "judge before": "What the judge says of the sound as it was.",
    "judge after": "What the judge says of the changed sound.",
    "judge, noise as loud": "What the judge says of the sound with noise as loud as the change.",
    "concept bottleneck": "A logistic regression on measured attributes alone, such as pitch and loudness.",
    "a real segment drawn at random": "Control: any training recording of the class that the prototypes decided.",
    "recall": "Recall of each class on the test part, averaged over classes and splits.",
    "plays": "What the model plays to explain a decision.",
    "heard as decided": "Share of decisions in whose example the judge hears the class that was decided.",
    "different sounds": "How many different examples were played for these decisions.",
    "the loudest tenth": "Control: the loudest tenth of the bins of the segment's spectrogram, whatever was decided.",
    "the segment itself": "Control: all of the segment, of which nothing is left out.",
    "fidelity low": "Low bound of the 95 % interval of the fidelity.",
    "fidelity high": "High bound of the 95 % interval of the fidelity.",
    "heard as its class": "Share of prototypes that the judge hears as their class, averaged over classes.",
    "parameters (thousands)": "Numbers that are trained: prototypes, adaptor and linear layer, in thousands.",
    "segments a prototype": "Training segments for each prototype, on average.",
    "nearest to no segment": "Share of prototypes that are the nearest of no training segment.",
    "its own vector": "Sounds drawn from the autoencoder's own vectors: what a way from another space is read against.",
    "mapped": "Vectors of another encoder, brought to the autoencoder's space by a ridge regression.",
    "shuffled map": "Control: the same regression, fitted on pairs that do not belong together.",
    "variance explained": "Share of the variance of the autoencoder's vectors that the map explains on test segments.",
    "segments heard": "Share of test segments that the judge hears as their class when they are decoded.",
    "prototypes heard": "Share of prototypes that the judge hears as their class, averaged over classes.",
}
"""Word -> what it means, one sentence. A word is written as it stands in tables; blanks and underscores are alike."""


def _key(word: object) -> str:
    return str(word).replace("_", " ").strip(" ↑↓").casefold()  # an arrow says which way is better


def meaning(word: Hashable) -> str | None:
    """Sentence of a word, however it is spelled (``mean_drop`` is "mean drop"); None for one that has none."""
    return _BY_KEY.get(_key(word))


_BY_KEY = {_key(word): sentence for word, sentence in TERMS.items()}


class Glossary:
    """Words and their sentences, which show themselves as a list; ``str`` gives the plain text, one a line."""

    def __init__(self, words: dict[str, str]):
        self.words = words

    def __str__(self) -> str:
        return "\n".join(f"{word}: {sentence}" for word, sentence in self.words.items())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f'<dl class="workbench-glossary">{_entries(self.words)}</dl>'


@checked
def glossary(*words: str) -> Glossary:
    """Show what words mean, in the order of the alphabet.

    Parameters
    ----------
    *words : str
        Words of ``TERMS``, in any spelling of its blanks and capitals.

    Returns
    -------
    Glossary
        Shows itself as the last line of a cell.

    Raises
    ------
    ParameterError
        No word at all, or one without an entry; names the nearest that has one.
    """
    if not words:
        raise ParameterError("words", words, "at least one word")
    found = {}
    for word in words:
        if not isinstance(word, str) or meaning(word) is None:
            raise ParameterError("words", word, f"a word that has an entry{close_match(str(word), TERMS)}")
        found[word] = meaning(word)
    return Glossary(dict(sorted(found.items(), key=lambda item: item[0].casefold())))


class Table:
    """A table whose headers carry hints; ``frame`` is the DataFrame, ``str`` its plain text."""

    def __init__(self, frame: pd.DataFrame, *, digits: int, title: str):
        self.frame, self._digits, self._title = frame, digits, title

    def __str__(self) -> str:
        text = self.frame.round(self._digits).to_string()
        return f"{self._title}\n{text}" if self._title else text

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        frame = self.frame
        names = ["" if name is None else name for name in frame.index.names]
        columns = [key if isinstance(key, tuple) else (key,) for key in frame.columns]
        head = [*names, *(", ".join(map(str, key)) for key in columns)]
        rows = [head, ["---"] * len(names) + ["---:"] * len(columns)]
        for key, values in zip(frame.index, frame.itertuples(index=False, name=None), strict=True):
            keys = key if frame.index.nlevels > 1 else (key,)
            rows.append([*keys, *(self._text(value) for value in values)])
        lines = [f"| {' | '.join(map(markdown, row))} |" for row in rows]
        return "\n".join(([f"**{markdown(self._title)}**", ""] if self._title else []) + lines)

    def _repr_html_(self) -> str:
        frame, explained = self.frame, {}

        def head(label: object, span: int = 1) -> str:
            if label is None or (isinstance(label, float) and label != label):
                label = ""
            sentence = meaning(label)
            inside = escape(label)
            if sentence:
                explained[str(label)] = sentence
                inside = f'<abbr title="{escape(sentence)}">{inside}</abbr>'
            return f'<th{f" colspan={span}" if span > 1 else ""} scope="col">{inside}</th>'

        levels = frame.index.nlevels
        names = [name if name is not None else "" for name in frame.index.names]
        rows = []
        for depth in range(frame.columns.nlevels):
            labels = list(frame.columns.get_level_values(depth))
            last = depth == frame.columns.nlevels - 1
            cells = [head(name if last else "") for name in names]
            start = 0
            for i in range(1, len(labels) + 1):
                if i == len(labels) or last or labels[i] != labels[start]:
                    cells.append(head(labels[start], i - start))
                    start = i
            rows.append(f"<tr>{''.join(cells)}</tr>")
        body = []
        for key, values in zip(frame.index, frame.itertuples(index=False, name=None), strict=True):
            keys = key if levels > 1 else (key,)
            cells = [head(each).replace('scope="col"', 'scope="row"') for each in keys]
            cells += [self._cell(value) for value in values]
            body.append(f"<tr>{''.join(cells)}</tr>")
        caption = f"<caption>{escape(self._title)}</caption>" if self._title else ""
        made = f"<table>{caption}<thead>{''.join(rows)}</thead><tbody>{''.join(body)}</tbody></table>"
        below = ""
        if explained:
            below = f"<details><summary>What the words mean</summary><dl>{_entries(explained)}</dl></details>"
        return f'<div class="workbench-table">{_STYLE}<div style="overflow-x:auto">{made}</div>{below}</div>'

    def _cell(self, value: object) -> str:
        kind = ' class="number"' if _is_number(value) else ""
        return f"<td{kind}>{escape(self._text(value))}</td>"

    def _text(self, value: object) -> str:
        if not _is_number(value):
            return "" if value is None or value is pd.NaT else str(value)
        if value != value:
            return "–"
        text = str(value) if isinstance(value, numbers.Integral) else f"{value:.{self._digits}f}"
        return text.replace("-", "−")


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


_STYLE = """<style>
.workbench-table caption { text-align: left; font-weight: 600; padding: 2px 0; white-space: pre-line; }
.workbench-table :is(td, th) { text-align: left; vertical-align: top; }
.workbench-table td { overflow-wrap: break-word; max-width: 24em; white-space: normal; }
.workbench-table td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.workbench-table abbr { text-decoration: underline dotted; cursor: help; }
.workbench-table summary { cursor: pointer; }
.workbench-table dt { font-weight: 600; } .workbench-table dd { margin: 0 0 4px 1.2em; }
</style>"""


def _entries(words: dict[str, str]) -> str:
    return "".join(f"<dt>{escape(word)}</dt><dd>{escape(sentence)}</dd>" for word, sentence in words.items())


@checked
def table(frame: pd.DataFrame | pd.Series, *, digits: int = 3, title: str = "") -> Table:
    """Show a table that explains its words: rows and columns named in ``TERMS`` carry a hint, listed below it too.

    Parameters
    ----------
    frame : DataFrame or Series
        Any index and columns, of several levels too. A Series is one column.
    digits : int
        Behind the point of numbers that are no whole ones.
    title : str
        Above the table; what must be known first stands there (:func:`headed`).

    Returns
    -------
    Table
        Shows itself as the last line of a cell; ``.frame`` is the DataFrame.
    """
    if isinstance(frame, pd.Series):
        frame = frame.to_frame("" if frame.name is None else frame.name)
    if not isinstance(frame, pd.DataFrame):
        raise ParameterError("frame", type(frame).__name__, "a pandas DataFrame or Series")
    return Table(frame, digits=whole("digits", digits, least=0), title=title)
