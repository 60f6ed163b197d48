"""The bad inputs of the threat table, and a few good ones beside them. One file a theme, each with a `ROWS`.

A file that is added here is found by test_rows.py without another word. The id of a row begins with its place in the
threat table (`A3 CL +5`), is unique, and says what is odd about the bytes.
"""
