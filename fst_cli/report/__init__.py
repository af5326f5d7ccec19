"""Figures of finished and running runs, and one page that shows them with the rollouts behind them."""
