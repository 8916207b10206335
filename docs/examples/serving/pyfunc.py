"""The same model as an MLflow `python_model`: log it in the training, Gyre does the rest."""

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

RATES = {"Linz": 4100.0, "Wels": 3200.0}


class Flats(PythonModel):
    """`model_input` is a DataFrame with the signature's columns."""

    def predict(self, model_input: pd.DataFrame) -> np.ndarray:
        return (model_input["town"].map(RATES) * model_input["area"]).to_numpy()


set_model(Flats())
