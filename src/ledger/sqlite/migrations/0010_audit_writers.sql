-- Whose log it is: the service's own, or that of the administrators' commands as the service found it last.
ALTER TABLE audit_heads ADD COLUMN writer TEXT NOT NULL DEFAULT 'service';
