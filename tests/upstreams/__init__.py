"""Stand-ins for the providers: real servers on loopback that answer as the provider does and record what they got."""
