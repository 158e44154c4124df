"""What a person sees: tables on a console, files, progress."""
