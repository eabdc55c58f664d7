"""What one notebook alone says: a module for each, with its sentences, its comparisons and what it records.

A verb that another notebook could want stands in the room that it belongs to. The modules are the namespace::

    from workbench.lessons import sae as lesson
"""
