"""Measuring while training: questions from validation rows, generated answers, their scores, sample answers."""
