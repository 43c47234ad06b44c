"""What measures pictures: recognisers of factors, encoders for likeness, metrics, reports.

It shares no weights with the pipeline that it judges, and learned with other seeds; recognisers and
identity also saw pictures that went through its autoencoder, as soft as those that they will judge.
"""
