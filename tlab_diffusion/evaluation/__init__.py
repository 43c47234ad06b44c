"""All that measures pictures: metrics, encoders, recognisers, identity, statistics, reports.

From the ground up: pictures, networks, recognisers, shipped_encoders, metrics, statistics;
identity, encoders, hub_encoders, subject_prompts, world; then result, measure and subjects, which
measure a model tuned to a subject, and quality, the report on a base model.

The networks share no weights with the pipeline that they measure and were trained with other seeds.
Recognisers and the identity encoder were also trained on pictures that went through its
autoencoder, since samples are as soft as those.
"""
