"""Real tables: the estimators for tables beside gradient boosting and other networks, on the same folds."""
