"""What every probe is made of: settings, models, images, results, intervals."""
