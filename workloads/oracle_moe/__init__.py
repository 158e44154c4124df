"""Oracle-MoE and its rivals: routers, training on bundled text, the zoo."""
