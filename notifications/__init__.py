"""What members read: templates and their delivery."""
