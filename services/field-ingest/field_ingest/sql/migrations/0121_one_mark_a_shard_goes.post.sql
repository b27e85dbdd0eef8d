-- Marks are kept by partition.
DROP TABLE projection_mark;
