"""What is resident, what is loaded, what is evicted: decisions without a clock."""
