print("extractfs")
