"""What people see: the web page and the HTTP interface, the only users of gradio and fastapi."""
