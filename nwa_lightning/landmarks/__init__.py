"""Edit distances to a few reads, the landmarks, as features of any model."""
