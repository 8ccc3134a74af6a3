"""Callbacks for the Trainer that go with NWA."""
