-- Where a stream is: the journal names streams by number, and a start must not read every key to find one.
CREATE INDEX stream_keys ON keys (stream) WHERE stream IS NOT NULL;
