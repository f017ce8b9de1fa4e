"""TRL's trainers, given finished tokens. These import trl: only a run's calls lead here, once the backend is ready."""
