"""Small models as users write them: some legitimate, some with one fault each."""
