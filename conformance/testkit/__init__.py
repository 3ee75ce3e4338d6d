"""What a behaviour is written with: @behaviour, Trial, expect, observer, properties."""
