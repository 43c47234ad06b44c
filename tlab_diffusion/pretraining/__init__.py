"""The recipe of the models that the course ships.

checkpoints  what a run saves: plain tensors, written whole or not at all
pictures     the picture-book world, drawn once and kept on disk; characters: met several times;
             augment: pictures as samples may look
vae          the autoencoder: 64 x 64 pictures to 16 x 16 latents of 4 channels and back
text         the CLIP pair, whose text encoder the U-Net listens to; tokenizer: its words
unet         the U-Net, in the autoencoder's latents
recognisers, encoders   what measures
networks     the parts of the pipeline, new; recipe: the numbers of all stages
loop         the training that all stages share; pace: its learning rate, device and memory
stage        a run with a bar, a log and measures; stages: those of `tlab pretrain`

All randomness of a step follows from (seed, step), so a killed run that resumes from its last
checkpoint goes on exactly as if nothing had happened.
"""
