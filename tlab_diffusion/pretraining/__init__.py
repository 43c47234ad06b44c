"""The recipe of the models that the course ships.

checkpoints  what a run saves: plain tensors, written whole or not at all
pictures     the picture-book world, drawn once and kept on disk
vae          the autoencoder: 64 x 64 pictures to 16 x 16 latents of 4 channels and back
vae_stage    its stage of `tlab pretrain`: draw, train, measure, write

All randomness of a step follows from (seed, step), so a killed run that resumes from its last
checkpoint goes on exactly as if nothing had happened.
"""
