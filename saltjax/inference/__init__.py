"""A trained network applied to sections and volumes of any size."""
