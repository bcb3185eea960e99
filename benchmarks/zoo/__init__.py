"""The zoo: public models with random weights, each audited in a process of its own."""
