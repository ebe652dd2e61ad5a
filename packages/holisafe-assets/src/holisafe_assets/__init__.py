"""Data of HoliSafe-Open and weights of Pocket and Safe Pocket; read through holisafe."""
