"""What trainers are fed: demonstrations, own draws, teachers' responses and live rollouts, as rows of token ids."""
