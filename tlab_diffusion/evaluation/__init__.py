"""What measures pictures: recognisers of factors, encoders for likeness, metrics, reports.

None of it shares anything with the pipeline that it judges: other networks, other pictures.
"""
