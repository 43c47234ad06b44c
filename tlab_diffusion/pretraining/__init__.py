"""Train the models that the course ships.

pictures     draws the training pictures once and keeps them on disk
characters   several pictures of each of many characters
augment      random changes of pictures
networks     the parts of the pipeline before training
recipe       the settings of all stages, read from `recipe.toml`
tokenizer    the vocabulary of the captions
vae          the autoencoder: 64 x 64 pictures to 16 x 16 latents of 4 channels and back
text         the CLIP pair, whose text encoder conditions the U-Net
unet         the U-Net, trained on the autoencoder's latents
recognisers  the networks that read factors off pictures
encoders     the encoders that compare pictures with captions and with each other
stage        a training run with a progress bar, a log and measurements
stages       the stages of `tlab pretrain`

All randomness of a step follows from (seed, step), so a killed run resumes exactly from its last
checkpoint.
"""
