"""The user's code as it is handed over: functions, layers and objects brought to one form, and recorded."""
