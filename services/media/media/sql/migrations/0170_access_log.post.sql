-- Reads are records of the chassis' access log now, which is one chain and has its own policy.
DROP TABLE media.access_log;
