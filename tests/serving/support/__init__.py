"""What the tests of the serving pod share: real versions, a real store, a real Triton."""
