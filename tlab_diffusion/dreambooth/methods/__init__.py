"""Fine-tuning methods: train all weights, LoRA adapters, or one embedding."""

DREAMBOOTH, LORA, TEXTUAL_INVERSION = METHODS = ("dreambooth", "lora", "textual-inversion")
