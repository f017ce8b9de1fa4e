"""Other tools' configurations and scripts -> a recipe, and the list of what has no counterpart here.

What is read becomes Settings (found.py); tables of rules, one file for each tool, say what each setting means; a Draft
collects lines and what there is to tell; writing.py makes the text. Nothing that is read is ever run."""
