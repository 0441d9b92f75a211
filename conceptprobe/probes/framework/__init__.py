"""The parts that every probe uses: settings, models, images, responses, results, intervals."""
