"""HoliSafe-Open, drawn from open art: `python -m research.holisafe_open`."""
