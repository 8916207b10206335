"""What the containers of a serving pod share: their order, their way to fail, their probe port."""
