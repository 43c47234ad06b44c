r"""DreamBooth: a model learns a subject from a few pictures (arXiv:2208.12242).

config      the settings of a run, right or refused; defaults: what is left out
images      the subject's pictures: used, fixed, skipped or refused, by name
tokens      what a tokenizer makes of the identifier
cost        memory, operations and disk, counted from configs and headers
estimate    what a run needs against what there is; in how many parts a step fits
preflight   all of these before a run: everything wrong is said at once
loss        the prior-preservation loss
draws       what is random in a step, by (seed, step, sample)
caches      latent distributions and text embeddings, computed once
prior       the class pictures that the original model draws
model       what learns; lora: adapters, textual_inversion: one word
optimizers  what moves it: AdamW, in 32 bits or 8
learner     one step of it
checkpoint  what an interrupted run goes on from
tuned       the pipeline folder that comes out
trainer     all of it, as a generator of events
uses        what a tuned model is asked to draw, and what its pictures should then show
identity    is it the subject, or a copy of a reference?
judges      who measures: the shipped networks; hub_judges: the paper's CLIP and DINO
scores      from pictures to scores, also of controls
measures    all that is measured on one model
intervals   how sure a mean is
across      means and effects over several subjects
trade_off   the best checkpoint of a run, and why
grid        learning rate x steps: a search that many workers share
"""
