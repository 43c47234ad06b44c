"""Fine-tuning methods: all weights, adapters beside them, or one embedding."""

DREAMBOOTH, LORA, TEXTUAL_INVERSION = METHODS = ("dreambooth", "lora", "textual-inversion")
