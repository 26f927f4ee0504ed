"""What people read: the rules and notices for members, the reports for operators; templates, charts and delivery."""
