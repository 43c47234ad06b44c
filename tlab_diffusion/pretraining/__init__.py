"""The recipe of the models that the course ships.

pictures     the picture-book world, drawn once and kept on disk; characters: met several times;
             augment: pictures as samples may look
vae          the autoencoder: 64 x 64 pictures to 16 x 16 latents of 4 channels and back
text         the CLIP pair, whose text encoder conditions the U-Net; tokenizer: its vocabulary
unet         the U-Net, in the autoencoder's latents
recognisers, encoders   the networks that measure
networks     the parts of the pipeline, untrained; recipe: the numbers of all stages
stage        a training run with a progress bar, a log and measurements; stages: those of
             `tlab pretrain`

All randomness of a step follows from (seed, step), so a killed run resumes exactly from its last
checkpoint.
"""
