"""Measure pictures: encoders, metrics, statistics and reports.

pictures, prompts   held-out scenes and prompts to measure with
networks            the convolutional trunk of the shipped networks
recognisers         read the factors of a scene off a picture
shipped_encoders    the course's image and text encoders
hub_encoders        CLIP and DINO from the hub, as the paper uses them
encoders            the encoders of an evaluation, shipped or from the hub
metrics             functions of features and factors
identity            whether a picture shows the subject
statistics          means with bootstrap intervals
subject_prompts     prompts for a tuned model
world               the prompts, encoders and subjects of one world of pictures
measure, result     measure a model that was tuned to a subject
subjects            means and effects over several subjects
quality             the report on a base model
reconstruction      the error of an autoencoder

The networks share no weights with the pipeline that they measure and were trained with other seeds.
Recognisers and the identity encoder were also trained on pictures that went through its
autoencoder, because samples are as soft as those.
"""
