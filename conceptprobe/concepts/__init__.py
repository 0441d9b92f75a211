"""What a feature responds to: concepts as sets of images, scores, names, and the contrast of models.

Letters of shapes: n images, c concepts, l leaves, f features, k rank in a top list, d draws of a null, m words.
"""
