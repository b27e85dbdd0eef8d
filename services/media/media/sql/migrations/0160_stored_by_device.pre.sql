-- What one device may store within some weeks is limited, so what it stored is counted with each new upload.
CREATE INDEX file_device ON media.file (device, stored_at_ms);
